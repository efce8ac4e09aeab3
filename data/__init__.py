"""How a dataset becomes TFRecords: the feature contract, label maps, readers and the Beam conversion."""
