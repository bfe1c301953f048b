"""Model families: what a description says, as a module with weights, ready for the compiler."""
