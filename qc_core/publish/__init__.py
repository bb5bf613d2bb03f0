"""Publishes a policy and lets it challenge the champion."""
