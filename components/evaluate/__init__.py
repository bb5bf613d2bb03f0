"""Compare the policies on unseen episodes."""
