"""The settings, loaded from environment variables or the embedded default."""

from engarde_pipeline.settings.loading import EmbeddedDefaultNotRunning as EmbeddedDefaultNotRunning
from engarde_pipeline.settings.loading import InvalidSettings as InvalidSettings
from engarde_pipeline.settings.loading import check_environment as check_environment
from engarde_pipeline.settings.loading import embedded_data as embedded_data
from engarde_pipeline.settings.loading import first_date_file as first_date_file
from engarde_pipeline.settings.loading import has_dagster_database as has_dagster_database
from engarde_pipeline.settings.loading import is_embedded as is_embedded
from engarde_pipeline.settings.loading import is_unconfigured as is_unconfigured
from engarde_pipeline.settings.loading import load_api_settings as load_api_settings
from engarde_pipeline.settings.loading import load_dagster_settings as load_dagster_settings
from engarde_pipeline.settings.loading import load_database_settings as load_database_settings
from engarde_pipeline.settings.loading import load_pipeline_settings as load_pipeline_settings
from engarde_pipeline.settings.loading import load_settings as load_settings
from engarde_pipeline.settings.loading import load_token_settings as load_token_settings
from engarde_pipeline.settings.loading import require as require
from engarde_pipeline.settings.loading import services_file as services_file
from engarde_pipeline.settings.variables import API_ROLE as API_ROLE
from engarde_pipeline.settings.variables import CONNECTION_VARIABLES as CONNECTION_VARIABLES
from engarde_pipeline.settings.variables import ApiSettings as ApiSettings
from engarde_pipeline.settings.variables import CodeServerSettings as CodeServerSettings
from engarde_pipeline.settings.variables import DagsterSettings as DagsterSettings
from engarde_pipeline.settings.variables import DatabaseSettings as DatabaseSettings
from engarde_pipeline.settings.variables import PipelineSettings as PipelineSettings
from engarde_pipeline.settings.variables import ServiceSettings as ServiceSettings
from engarde_pipeline.settings.variables import Settings as Settings
from engarde_pipeline.settings.variables import WorkerSettings as WorkerSettings
