-- The role that the pipeline logs in with, and all it may do; also what the API's role needs besides its migration. Run it
-- in the application's database as the owner of its tables (or an administrator), after each `engarde db upgrade`, which
-- the owner runs, too:
--     psql "$OWNER_URL" -f deploy/postgres-role.sql
--     psql "$OWNER_URL" -c '\password engarde_pipeline'
\set ON_ERROR_STOP on

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'engarde_pipeline') THEN
        CREATE ROLE engarde_pipeline LOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
    WHEN insufficient_privilege THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('There is no role engarde_pipeline, and %I may not create it.', current_user),
            HINT = 'Let an administrator run CREATE ROLE engarde_pipeline LOGIN; and run this script again.';
END
$$;

-- Both roles must find the tables where their owner finds them.
DO $$
DECLARE
    schemas text := (SELECT string_agg(quote_ident(name), ', ') FROM unnest(current_schemas(false)) AS name);
    login text;
    path text;
BEGIN
    FOREACH login IN ARRAY ARRAY['engarde_pipeline', 'engarde_api'] LOOP
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), login);
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', schemas, login);
        IF schemas <> 'public' THEN
            path := format('ALTER ROLE %I IN DATABASE %I SET search_path = %s', login, current_database(), schemas);
            BEGIN
                EXECUTE path;
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE WARNING 'Let an administrator run %;', path;
            END;
        END IF;
    END LOOP;
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO engarde_pipeline', current_database());
END
$$;

GRANT SELECT ON tenants, campaign_assets, engarde_alembic_version TO engarde_pipeline;
GRANT SELECT, UPDATE ON campaign_spaces TO engarde_pipeline;
GRANT SELECT, INSERT, UPDATE ON rejected_metric_rows, bigquery_usage, synced_dates TO engarde_pipeline;
GRANT SELECT, INSERT, UPDATE ON source_keys TO engarde_pipeline;
GRANT SELECT, INSERT, DELETE ON removed_rows TO engarde_pipeline;
GRANT SELECT, INSERT, DELETE
    ON platform_days, asset_platform_days, metric_block_sums, due_blocks TO engarde_pipeline;
GRANT SELECT, INSERT, UPDATE, DELETE
    ON campaign_metrics, campaign_asset_metrics, campaign_space_months, campaign_space_sums, changed_dates, held_dates,
       metric_blocks
    TO engarde_pipeline;
