"""`azpolicy forecast`: what would not come back if its pods were made anew."""
