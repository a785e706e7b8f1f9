"""What a database defines: video tables, views and macros over them, and foveal's own tables."""
