"""Rewrites that keep a program's meaning, one file each; each can be switched off."""
