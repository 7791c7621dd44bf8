"""The ground that everything stands on: errors, files, elements, devices."""
