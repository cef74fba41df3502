"""Pure answers over the log, as projections: values that the engine folds events with."""
