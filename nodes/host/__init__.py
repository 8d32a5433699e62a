"""The host's side: only the modules of this package call comfy.*, folder_paths and the server."""
