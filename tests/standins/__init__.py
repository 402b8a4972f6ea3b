"""Real servers that stand in for services which tests cannot reach."""
