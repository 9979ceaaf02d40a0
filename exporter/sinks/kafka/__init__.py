"""Events to a topic of Apache Kafka: each acknowledged before it counts as delivered, in order per key."""
