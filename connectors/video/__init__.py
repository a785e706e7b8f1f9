"""Video files as exact frames: index, reader, child process, source."""
