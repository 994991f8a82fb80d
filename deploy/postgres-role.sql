-- The role the pipeline logs in with, and all it may do. Run it in the application's database as the owner of its
-- tables (or an administrator), after each `engarde db upgrade`, which is that owner's business too:
--     psql "$OWNER_URL" -f deploy/postgres-role.sql
--     psql "$OWNER_URL" -c '\password engarde_pipeline'
DO $$
BEGIN
    CREATE ROLE engarde_pipeline LOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;
DO $$
BEGIN
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO engarde_pipeline', current_database());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO engarde_pipeline', current_schema());
END
$$;
GRANT SELECT ON tenants, campaign_assets, engarde_alembic_version TO engarde_pipeline;
GRANT SELECT, UPDATE ON campaign_spaces TO engarde_pipeline;
GRANT SELECT, INSERT, UPDATE ON rejected_metric_rows, bigquery_usage, synced_dates TO engarde_pipeline;
GRANT SELECT, INSERT, UPDATE ON source_keys TO engarde_pipeline;
GRANT SELECT, INSERT, DELETE ON removed_rows TO engarde_pipeline;
GRANT SELECT, INSERT, DELETE ON platform_days TO engarde_pipeline;
GRANT SELECT, INSERT, UPDATE, DELETE
    ON campaign_metrics, campaign_asset_metrics, campaign_space_months, changed_dates TO engarde_pipeline;
