"""Films made from still pictures: camera moves, dissolves, cuts, a tone, one MP4.

It knows nothing of Kling or of HTTP. Importing it loads Pillow and PyAV, so the sandbox does that
only when a clip is made.
"""
