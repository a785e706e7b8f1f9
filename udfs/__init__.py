"""Functions and models: batches and pictures in, values and detections out."""
