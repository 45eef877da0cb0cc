"""What every floor uses: errors, options, registries, batched records."""
