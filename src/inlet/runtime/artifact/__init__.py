"""What a replica may serve, and how that is decided: a model's variants are built, put to the gate, and kept on disk."""
