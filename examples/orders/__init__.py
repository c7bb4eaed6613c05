"""A shop's orders, a payment service that fails now and then, and workers that are killed on the way."""
