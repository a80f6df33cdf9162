"""Box losses without a training: curves, explorer, simulations; and measurements on trained detectors."""
