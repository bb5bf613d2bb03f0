"""Named policy versions in a store: manifests, aliases, gate records, signatures and a cache."""
