"""One file a published method: its nets, its loss, its sampling."""
