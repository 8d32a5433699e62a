"""Networks that look at pictures: their features, and the painters that work on them."""
