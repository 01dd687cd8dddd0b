"""One file per noun; each answers its requests with one method of one part."""
