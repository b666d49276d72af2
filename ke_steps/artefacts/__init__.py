"""What steps hand to each other: tables and their schemas, manifests, places, interventions."""
