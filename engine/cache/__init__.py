"""Everything paid for, kept on disk beside the database: detections, derived arrays, speeds."""
