-- Creates the roles and the two databases of deploy/compose.yaml; run once, when its Postgres has no data yet. For another
-- server, run it there as an administrator, with the passwords in the environment:
--     OWNER_PASSWORD=... PIPELINE_PASSWORD=... API_PASSWORD=... DAGSTER_PASSWORD=... \
--         EXPORTER_PASSWORD=... psql "$ADMIN_URL" -f deploy/postgres-init.sql
-- What engarde_pipeline, engarde_api and engarde_exporter may do with the tables is granted after the migrations, by `engarde db grants`.
\set ON_ERROR_STOP on

\getenv owner_password OWNER_PASSWORD
\getenv pipeline_password PIPELINE_PASSWORD
\getenv api_password API_PASSWORD
\getenv dagster_password DAGSTER_PASSWORD
\getenv exporter_password EXPORTER_PASSWORD

-- The owner of the application's tables, which runs the migrations.
CREATE ROLE engarde_owner LOGIN PASSWORD :'owner_password';
-- The code server and the workers.
CREATE ROLE engarde_pipeline LOGIN PASSWORD :'pipeline_password';
-- The REST API; the migrations would create it without a login.
CREATE ROLE engarde_api LOGIN PASSWORD :'api_password';
-- The exporter, which reads sums for monitoring.
CREATE ROLE engarde_exporter LOGIN PASSWORD :'exporter_password';
-- Dagster's history, for every process.
CREATE ROLE engarde_dagster LOGIN PASSWORD :'dagster_password';

CREATE DATABASE engarde OWNER engarde_owner;
CREATE DATABASE dagster OWNER engarde_dagster;
REVOKE ALL ON DATABASE engarde, dagster FROM PUBLIC;
