"""Connects Kubeflow Pipelines in a Kubernetes cluster to the store, and inspects the result."""
