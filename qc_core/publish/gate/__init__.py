"""The gate: decides from episodes whether a challenger becomes champion."""
