"""What is measured: `base` is the seam, `registry` lists the systems, `inlet` and `program` start them."""
