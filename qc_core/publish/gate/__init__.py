"""Who becomes champion."""
