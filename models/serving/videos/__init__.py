"""How does a video become a video with overlays?"""
