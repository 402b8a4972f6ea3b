"""JSON to core and back: one module per protocol. Validation of shape lives here, validation of sense in `control/`."""
