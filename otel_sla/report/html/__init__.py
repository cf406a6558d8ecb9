"""A month as one HTML page, with all that it needs in it; the templates and the style stand beside the modules."""
