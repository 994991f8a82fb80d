"""The storm: invented histories are synced while faults are made; afterwards Postgres is what the oracle says."""
