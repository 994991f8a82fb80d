#!/bin/sh
# Gives a service account what the pipeline needs in BigQuery, and no more: to read one dataset, to run queries, and to
# read tables through the Storage API. Run it as somebody who may grant these:
#     sh deploy/bigquery-roles.sh <project> <dataset> <service account's e-mail>
set -eu
[ $# -eq 3 ] || { echo "usage: $0 <project> <dataset> <service account's e-mail>" >&2; exit 2; }
project=$1 dataset=$2 member=serviceAccount:$3

for role in roles/bigquery.jobUser roles/bigquery.readSessionUser; do
    gcloud projects add-iam-policy-binding "$project" --member="$member" --role="$role" --condition=None
done
bq --project_id="$project" query --use_legacy_sql=false \
    "GRANT \`roles/bigquery.dataViewer\` ON SCHEMA \`$project.$dataset\` TO '$member'"
