"""Training that knows no loss, detector or data set by name: it is handed a model, batches and places to write."""
