#!/usr/bin/env bash
# Makes all that the loader needs in a Google Cloud project, and takes it away again. `./deploy.sh --help` is the reference.
set -euo pipefail
set +x # a shell that traces would print the key

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
	printf ' !     Could not start.\n !     Found: bash %s.\n !     Do: run this with bash 4.4 or newer.\n' "$BASH_VERSION" >&2
	exit 1
fi

readonly SERVICES=(artifactregistry bigquery cloudbuild cloudfunctions cloudscheduler cloudtasks iam run secretmanager storage)
readonly TIMEOUT_SECONDS=1800 # Scheduler and Tasks wait no longer than this for an answer
readonly JOB_RETRIES=3 JOB_MIN_BACKOFF=60s JOB_MAX_BACKOFF=600s
# A task that finds the resource busy is tried again for as long as the other run may take.
readonly TASK_ATTEMPTS=10 TASK_MIN_BACKOFF=10s TASK_MAX_BACKOFF=300s TASK_DOUBLINGS=5
readonly QUEUE_NAMES=5
readonly SECRET_LABEL=deployed-by
readonly PATIENCE=(2 3 5 10 10 15 15) # seconds: what was made a moment ago may be unknown for up to a minute

PROJECT="" REGION=us-central1 NAME=rest-api-loader DESTINATION=bigquery BUCKET="" DATASET=analytics
SECRET="" SECRET_GIVEN=false BASE_URL="" MEMORY=2Gi ROTATE_KEY=false DRY_RUN=false DESTROY=false YES=false
RUN_ACCOUNT="" CALL_ACCOUNT="" BUILD_ACCOUNT="" QUEUE="" FUNCTION_URL="" SERVICE_URL=""
DEPLOYED_SECRET="" DEPLOYED_BUCKET="" DEPLOYED_DATASET="" DEPLOYED_QUEUE="" FUNCTION_EXISTS=false SECRET_EXISTS=false KEY_NEEDED=false
RESOURCES=() CRONS=() SWEPT=() SWEEP_CRONS=()
STEP="read the arguments" ANSWER="" PROBLEM="" ERRORS="" BINDINGS="" COMMAND=()
declare +x KEY="" # never exported, whatever the caller's environment holds

usage() {
	printf '%s\n' \
		'Usage: ./deploy.sh --project P [options]            make it, or bring it up to date (can be repeated)' \
		'       ./deploy.sh --project P [options] --destroy  take it away' \
		'' \
		'  --project P        the Google Cloud project' \
		'  --region R         where it runs and where its data is (us-central1)' \
		'  --name N           name of the function, and beginning of all other names (rest-api-loader)' \
		'  --destination D    bigquery or filesystem, which is a bucket (bigquery)' \
		'  --bucket B         the bucket for filesystem, without gs://; made if it is not there' \
		'  --dataset D        BigQuery data set, or folder in the bucket (analytics)' \
		"  --secret S         the API key's secret in Secret Manager (N-api-key)" \
		"  --base-url URL     the API's address, where it is not the one in source_config.py" \
		'  --memory M         memory of an instance, such as 2Gi or 512Mi (2Gi)' \
		'  --rotate-key       read a new API key' \
		'  --dry-run          print the commands that would change something, and change nothing' \
		'  --destroy          remove jobs, queue, function, rights, accounts, and the secret if it was made here;' \
		'                     the bucket and the data sets are kept' \
		'  --yes              with --destroy: do not ask' \
		'  --help             this text' \
		'' \
		'The API key is read from standard input, and only where the secret has none yet or with --rotate-key:' \
		'  ./deploy.sh --project P < key.txt        (at a terminal it asks for it)'
}

# Messages: all on standard error, so that standard output holds a dry run's commands and nothing else.

step() {
	STEP=$1
	printf -- '-----> %s\n' "${STEP^}" >&2
}

# The end of a run that succeeded.
say() {
	if "$DRY_RUN"; then printf '%s\n' "$@" >&2; else printf '%s\n' "$@"; fi
}

# Says what happened, what was found and what to do; the last lines of a run that failed.
fail() {
	local found=$1 remedy=$2 line
	{
		printf '\n !     Could not %s.\n' "$STEP"
		while IFS= read -r line; do printf ' !     %s\n' "$line"; done <<<"Found: $found"
		while IFS= read -r line; do printf ' !     %s\n' "$line"; done <<<"Do: $remedy"
	} >&2
	exit 1
}

fail_usage() {
	{
		printf ' !     %s\n\n' "$1"
		usage
	} >&2
	exit 2
}

# Prints a command as it can be pasted into a shell.
print_command() {
	local word line=""
	for word in "$@"; do
		[[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word=${word@Q}
		line+="$word "
	done
	printf '%s\n' "${line% }"
}

# This run again, with what it has learned.
again() {
	local words=(./deploy.sh --project "$PROJECT")
	[[ $REGION == us-central1 ]] || words+=(--region "$REGION")
	[[ $NAME == rest-api-loader ]] || words+=(--name "$NAME")
	[[ $DESTINATION == bigquery ]] || words+=(--destination "$DESTINATION" --bucket "$BUCKET")
	[[ $DATASET == analytics ]] || words+=(--dataset "$DATASET")
	[[ $SECRET == "$NAME-api-key" ]] || words+=(--secret "$SECRET")
	[[ -z $BASE_URL ]] || words+=(--base-url "$BASE_URL")
	[[ $MEMORY == 2Gi ]] || words+=(--memory "$MEMORY")
	! "$ROTATE_KEY" || words+=(--rotate-key)
	! "$DRY_RUN" || words+=(--dry-run)
	! "$DESTROY" || words+=(--destroy)
	! "$YES" || words+=(--yes)
	print_command "${words[@]}"
}

# Arguments.

parse_arguments() {
	while (($#)); do
		case $1 in
		--help)
			usage
			exit 0
			;;
		--rotate-key) ROTATE_KEY=true ;;
		--dry-run) DRY_RUN=true ;;
		--destroy) DESTROY=true ;;
		--yes) YES=true ;;
		--project | --region | --name | --destination | --bucket | --dataset | --secret | --base-url | --memory)
			[[ -n ${2:-} && $2 != --* ]] || fail_usage "$1 needs a value."
			set_option "$1" "$2"
			shift
			;;
		*) fail_usage "Unknown argument: $1" ;;
		esac
		shift
	done
}

set_option() {
	case $1 in
	--project) PROJECT=$2 ;;
	--region) REGION=$2 ;;
	--name) NAME=$2 ;;
	--destination) DESTINATION=$2 ;;
	--bucket) BUCKET=$2 ;;
	--dataset) DATASET=$2 ;;
	--secret) SECRET=$2 SECRET_GIVEN=true ;;
	--base-url) BASE_URL=$2 ;;
	--memory) MEMORY=$2 ;;
	esac
}

require() {
	local option=$1 value=$2 pattern=$3 rule=$4
	[[ $value =~ ^($pattern)$ ]] || fail_usage "$option $value: $rule."
}

check_arguments() {
	[[ -n $PROJECT ]] || fail_usage "--project is needed."
	require --project "$PROJECT" '[a-z][a-z0-9-]{4,28}[a-z0-9]' \
		"a project's id is 6 to 30 small letters, digits and dashes"
	require --region "$REGION" '[a-z]+(-[a-z]+)+[0-9]+' "a region looks like us-central1"
	require --name "$NAME" '[a-z][a-z0-9-]{0,22}[a-z0-9]' \
		"2 to 24 small letters, digits and dashes, as the accounts' names begin with it"
	require --destination "$DESTINATION" 'bigquery|filesystem' "bigquery or filesystem"
	require --dataset "$DATASET" '[a-z][a-z0-9]*(_[a-z0-9]+)*' \
		"small letters, digits and single underscores, as dlt would rename anything else"
	((${#DATASET} <= 1000)) || fail_usage "--dataset is too long."
	! "$SECRET_GIVEN" || require --secret "$SECRET" '[A-Za-z0-9_-]{1,255}' \
		"the name of a secret is letters, digits, dashes and underscores"
	[[ -z $BASE_URL ]] || require --base-url "$BASE_URL" \
		'https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~:/?@!&()*+,;=%-]*)?' \
		"an address looks like https://api.example.com, without a user or a key in it"
	require --memory "$MEMORY" '[1-9][0-9]*(k|Ki|M|Mi|G|Gi)' "memory looks like 2Gi or 512Mi"
	check_bucket
	"$DESTROY" || ! "$YES" || fail_usage "--yes goes with --destroy."
	! "$DESTROY" || ! "$ROTATE_KEY" || fail_usage "--rotate-key does not go with --destroy."
}

check_bucket() {
	if [[ $DESTINATION == bigquery ]]; then
		[[ -z $BUCKET ]] || fail_usage "--bucket goes with --destination filesystem."
		return
	fi
	[[ -n $BUCKET ]] || fail_usage "--destination filesystem needs --bucket."
	[[ $BUCKET != gs://* ]] || fail_usage "--bucket $BUCKET: leave gs:// away."
	require --bucket "$BUCKET" '[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]' \
		"the name of a bucket is small letters, digits, dashes, underscores and dots"
}

name_everything() {
	local domain=$PROJECT.iam.gserviceaccount.com
	SECRET=${SECRET:-$NAME-api-key}
	RUN_ACCOUNT=$NAME-run@$domain
	CALL_ACCOUNT=$NAME-call@$domain
	BUILD_ACCOUNT=$NAME-build@$domain
	# The one address of a function that is known before there is one.
	FUNCTION_URL=https://$REGION-$PROJECT.cloudfunctions.net/$NAME
	SERVICE_URL=$FUNCTION_URL
}

# gcloud: `look` for what changes nothing, `change` for what does.

# Runs gcloud: what it prints is in ANSWER, what it complains of in PROBLEM.
call_gcloud() {
	ANSWER=$(gcloud "$@" 2>"$ERRORS") && return
	PROBLEM=$(<"$ERRORS")
	return 1
}

is_absent() {
	local pattern='(^|'$'\n'')ERROR: \(gcloud\.[a-z.-]+\) (NOT_FOUND:|HTTPError 404:|ResponseError: status=\[404\]|gs://[^ ]+ not found: 404)'
	[[ $PROBLEM =~ $pattern ]]
}

is_disabled() {
	local problem=${PROBLEM,,}
	[[ $problem != *billing* ]] &&
		[[ $problem == *disabled* || $problem == *"not enabled"* || $problem == *"has not been used in project"* ]]
}

is_unknown_account() {
	[[ $PROBLEM == *INVALID_ARGUMENT* || $PROBLEM == *"HTTPError 400"* || $PROBLEM == *"status=[400]"* ]] &&
		[[ $PROBLEM == *.iam.gserviceaccount.com* || $PROBLEM == *"does not exist"* ]]
}

# Asks; returns 1 where the thing is not there, and stops at any other error.
look() {
	local tries=0
	until call_gcloud "$@" </dev/null; do
		if is_absent; then return 1; fi
		is_disabled || fail_at "$@"
		# Nothing can be there yet; and a service that was enabled a moment ago needs a while.
		if "$DRY_RUN"; then return 1; fi
		if "$DESTROY"; then fail_at "$@"; fi
		wait_before_try "$((tries++))" || fail_at "$@"
	done
}

# Returns 1 when patience is at its end.
wait_before_try() {
	(($1 < ${#PATIENCE[@]})) || return 1
	sleep "${PATIENCE[$1]}"
}

# Does it, or prints it in a dry run.
change() {
	if "$DRY_RUN"; then
		print_command gcloud "$@"
	else
		call_gcloud "$@" </dev/null || fail_at "$@"
	fi
}

# A right for an account that was made a moment ago may be refused at first.
grant() {
	local tries=0
	if "$DRY_RUN"; then
		change "$@"
		return
	fi
	until call_gcloud "$@" </dev/null; do
		is_unknown_account || fail_at "$@"
		wait_before_try "$((tries++))" || fail_at "$@"
	done
}

fail_at() {
	local remedy
	case $PROBLEM in
	*PERMISSION_DENIED* | *'status=[403]'* | *'HTTPError 403'* | *'does not have permission'*)
		remedy="get the right that is missing (docs/deploy.md lists them) from an owner of project $PROJECT" ;;
	*INTERNAL* | *UNAVAILABLE* | *'status=[5'* | *'HTTPError 5'*)
		remedy="wait a few minutes: this is Google's own failure" ;;
	*) remedy="put right what it says" ;;
	esac
	fail "$(print_command gcloud "$@")"$'\n'"${PROBLEM:-It ended without a message.}" \
		"$remedy. Then run this again, it goes on from here:"$'\n'"  $(again)"
}

# What the resources are, before anything is asked of Google.

read_schedules() {
	local python=${PYTHON:-.venv/bin/python} lines line cron
	# the part of a look at the API that needs no key: whether every resource can be loaded as it is configured
	step "check source_config.py, and read its resources and schedules"
	command -v "$python" >/dev/null || python=python3
	if ! lines=$("$python" main.py --schedules </dev/null 2>"$ERRORS"); then
		PROBLEM=$(<"$ERRORS")
		[[ $PROBLEM == *"source_config.py can't be imported"* ||
			$PROBLEM != *"No module named"* && $PROBLEM != *"command not found"* ]] ||
			fail "$PROBLEM" "run \`make\` first: it sets up the environment that source_config.py is read in."
		fail "$PROBLEM" "correct source_config.py, until this prints a line for each resource: $python main.py --schedules"
	fi
	while IFS= read -r line; do
		[[ $line == ?*$'\t'?* ]] || fail "'$line' where resource<TAB>cron was expected." \
			"correct source_config.py, until this prints a line for each resource: $python main.py --schedules"
		cron=${line#*$'\t'}
		if [[ $cron == *$'\tsweep' ]]; then
			SWEPT+=("${line%%$'\t'*}")
			SWEEP_CRONS+=("${cron%$'\tsweep'}")
		else
			RESOURCES+=("${line%%$'\t'*}")
			CRONS+=("$cron")
		fi
	done <<<"$lines"
}

enable_services() {
	step "enable the services"
	change services enable "${SERVICES[@]/%/.googleapis.com}" --project="$PROJECT"
}

check_region() {
	step "check the region"
	require_region "Cloud Functions" functions regions list --gen2
	require_region "Cloud Tasks" tasks locations list
	require_region "Cloud Scheduler" scheduler locations list
}

require_region() {
	local service=$1 region
	shift
	look "$@" --project="$PROJECT" --format='value[separator="/"](name,locationId)' || return 0
	while IFS= read -r region; do
		[[ ${region##*/} != "$REGION" ]] || return 0
	done <<<"$ANSWER"
	fail "$service is not offered in $REGION, but in these:"$'\n'"$ANSWER" "choose another with --region."
}

# Reads what is deployed: only the function itself knows which secret, bucket and queue it uses.
read_deployed() {
	local environment url service_url variable
	local format='value[separator="|"](environment,url,serviceConfig.uri'
	for variable in API_KEY_SECRET BUCKET_URL DATASET_NAME TASKS_QUEUE; do
		format+=",serviceConfig.environmentVariables.$variable"
	done
	look functions describe "$NAME" --gen2 --region="$REGION" --project="$PROJECT" --format="$format)" || return 0
	FUNCTION_EXISTS=true
	IFS='|' read -r environment url service_url DEPLOYED_SECRET DEPLOYED_BUCKET DEPLOYED_DATASET DEPLOYED_QUEUE <<<"$ANSWER"
	[[ $environment != GEN_1 ]] || fail "a function of the first generation has the name $NAME." "choose another --name."
	FUNCTION_URL=${url:-$FUNCTION_URL}
	SERVICE_URL=${service_url:-$SERVICE_URL}
	DEPLOYED_SECRET=${DEPLOYED_SECRET#projects/*/secrets/}
	DEPLOYED_SECRET=${DEPLOYED_SECRET%/versions/*}
	DEPLOYED_BUCKET=${DEPLOYED_BUCKET#gs://}
	DEPLOYED_QUEUE=${DEPLOYED_QUEUE##*/}
}

# The key.

decide_about_key() {
	step "look at the API key's secret"
	KEY_NEEDED=true
	if look secrets versions list "$SECRET" --project="$PROJECT" --format='value(state)'; then
		SECRET_EXISTS=true
		[[ $'\n'${ANSWER,,}$'\n' != *$'\n'enabled$'\n'* ]] || KEY_NEEDED=$ROTATE_KEY
	fi
	! "$KEY_NEEDED" || "$DRY_RUN" || read_key
}

read_key() {
	step "read the API key"
	if [[ -t 0 ]]; then
		if ! IFS= read -rs -p "       The API key (it stays unseen): " KEY; then KEY=""; fi
		printf '\n' >&2
	elif IFS= read -r -d '' KEY; then
		fail "a zero byte in what came on standard input." "give the key alone, as text: $(again) < key.txt"
	fi
	KEY=${KEY%$'\n'}
	[[ -n $KEY ]] || fail "secret $SECRET has no key yet (or --rotate-key was given), and nothing came on standard input." \
		"give the key: $(again) < key.txt"
}

ensure_secret() {
	step "ensure the secret $SECRET"
	"$SECRET_EXISTS" ||
		change secrets create "$SECRET" --replication-policy=automatic --labels="$SECRET_LABEL=$NAME" --project="$PROJECT"
	! "$KEY_NEEDED" || add_key
	read_bindings secret "$SECRET"
	ensure_role secret "$SECRET" "$RUN_ACCOUNT" roles/secretmanager.secretAccessor
}

add_key() {
	local command=(secrets versions add "$SECRET" --data-file=- --project="$PROJECT")
	if "$DRY_RUN"; then
		change "${command[@]}"
	elif ! printf '%s' "$KEY" | call_gcloud "${command[@]}"; then
		PROBLEM=$(<"$ERRORS")
		fail_at "${command[@]}"
	fi
	KEY=""
}

# Rights.

# Puts gcloud's command for VERB on the policy of something into COMMAND.
policy_command() {
	local kind=$1 name=$2 verb=$3
	case $kind in
	project) COMMAND=(projects "$verb" "$name") ;;
	secret) COMMAND=(secrets "$verb" "$name") ;;
	bucket) COMMAND=(storage buckets "$verb" "gs://$name") ;;
	queue) COMMAND=(tasks queues "$verb" "$name" --location="$REGION") ;;
	account) COMMAND=(iam service-accounts "$verb" "$name") ;;
	service) COMMAND=(run services "$verb" "$name" --region="$REGION") ;;
	esac
	COMMAND+=(--project="$PROJECT")
}

# Puts the bindings on something into BINDINGS, a line each: member|role|title of the condition|its expression.
read_bindings() {
	local fields=bindings.members,bindings.role,bindings.condition.title,bindings.condition.expression
	BINDINGS=""
	policy_command "$1" "$2" get-iam-policy
	look "${COMMAND[@]}" --flatten='bindings[].members' --format="value[separator=\"|\"]($fields)" || return 0
	BINDINGS=$ANSWER
}

# Gives ACCOUNT a role on something, unless it is among BINDINGS.
ensure_role() {
	local kind=$1 name=$2 account=$3 role=$4 title=${5:-} expression=${6:-}
	[[ $'\n'$BINDINGS$'\n' != *$'\n'"serviceAccount:$account|$role|$title|$expression"$'\n'* ]] || return 0
	policy_command "$kind" "$name" add-iam-policy-binding
	add_condition "$kind" "$title" "$expression"
	grant "${COMMAND[@]}" --member="serviceAccount:$account" --role="$role"
}

# Where a policy holds any condition, gcloud wants to hear about it with every binding.
add_condition() {
	local kind=$1 title=$2 expression=$3
	if [[ -n $title ]]; then
		COMMAND+=(--condition="title=$title,expression=$expression")
	elif [[ $kind != queue ]]; then
		COMMAND+=(--condition=None)
	fi
}

remove_role() {
	local kind=$1 name=$2 account=$3 role=$4
	shift 4
	policy_command "$kind" "$name" remove-iam-policy-binding
	change "${COMMAND[@]}" --member="serviceAccount:$account" --role="$role" "$@"
}

# Takes away all that our accounts may do with something; other people's bindings stay.
remove_own_roles() {
	local kind=$1 name=$2 account line role removed=" "
	read_bindings "$kind" "$name"
	for account in "$RUN_ACCOUNT" "$CALL_ACCOUNT" "$BUILD_ACCOUNT"; do
		while IFS= read -r line; do
			[[ $line == "serviceAccount:$account|"* ]] || continue
			role=${line#*|}
			role=${role%%|*}
			[[ $removed != *" $account|$role "* ]] || continue
			removed+="$account|$role "
			remove_role "$kind" "$name" "$account" "$role" --all
		done <<<"$BINDINGS"
	done
}

# What the function used before and does not use any more.
remove_former_roles() {
	[[ -z $DEPLOYED_SECRET || $DEPLOYED_SECRET == "$SECRET" ]] || remove_own_roles secret "$DEPLOYED_SECRET"
	[[ -z $DEPLOYED_BUCKET || $DEPLOYED_BUCKET == "$BUCKET" ]] || remove_own_roles bucket "$DEPLOYED_BUCKET"
}

ensure_accounts() {
	ensure_account "$RUN_ACCOUNT" "what the function runs as"
	ensure_account "$CALL_ACCOUNT" "what calls the function"
	ensure_account "$BUILD_ACCOUNT" "what builds the function"
}

ensure_account() {
	local account=$1 purpose=$2
	step "ensure the account ${account%@*}"
	look iam service-accounts describe "$account" --project="$PROJECT" --format='value(email)' ||
		change iam service-accounts create "${account%@*}" --display-name="$NAME: $purpose" --project="$PROJECT"
}

ensure_call_rights() {
	step "ensure that the function may call itself again"
	read_bindings account "$CALL_ACCOUNT"
	ensure_role account "$CALL_ACCOUNT" "$RUN_ACCOUNT" roles/iam.serviceAccountUser
}

ensure_project_rights() {
	local title=$NAME-data-sets expression line
	step "ensure the rights in the project"
	expression=$(data_sets_expression)
	read_bindings project "$PROJECT"
	ensure_role project "$PROJECT" "$BUILD_ACCOUNT" roles/cloudbuild.builds.builder
	if [[ $DESTINATION == bigquery ]]; then
		ensure_role project "$PROJECT" "$RUN_ACCOUNT" roles/bigquery.user
		ensure_role project "$PROJECT" "$RUN_ACCOUNT" roles/bigquery.dataEditor "$title" "$expression"
	fi
	while IFS= read -r line; do
		case $line in
		"serviceAccount:$RUN_ACCOUNT|roles/bigquery.user||")
			[[ $DESTINATION == bigquery ]] ||
				remove_role project "$PROJECT" "$RUN_ACCOUNT" roles/bigquery.user --condition=None ;;
		"serviceAccount:$RUN_ACCOUNT|roles/bigquery.dataEditor|$title|"*)
			[[ $DESTINATION == bigquery && $line == *"|$title|$expression" ]] ||
				remove_role project "$PROJECT" "$RUN_ACCOUNT" roles/bigquery.dataEditor \
					--condition="title=$title,expression=${line#*"|$title|"}" ;;
		esac
	done <<<"$BINDINGS"
}

# The two data sets and what is in them: `D/` at the end, or a data set whose name begins the same would be among them.
data_sets_expression() {
	local data_set expression=""
	for data_set in "$DATASET" "${DATASET}_staging"; do
		data_set=projects/$PROJECT/datasets/$data_set
		expression+="resource.name == \"$data_set\" || resource.name.startsWith(\"$data_set/\") || "
	done
	printf '%s' "${expression% || }"
}

ensure_bucket() {
	step "ensure the bucket $BUCKET"
	look storage buckets describe "gs://$BUCKET" --project="$PROJECT" --format='value(name)' ||
		change storage buckets create "gs://$BUCKET" --location="$REGION" --uniform-bucket-level-access \
			--public-access-prevention --project="$PROJECT"
	read_bindings bucket "$BUCKET"
	ensure_role bucket "$BUCKET" "$RUN_ACCOUNT" roles/storage.objectUser
	ensure_role bucket "$BUCKET" "$RUN_ACCOUNT" roles/storage.legacyBucketReader
}

# The queue.

ensure_queue() {
	local wanted="${#RESOURCES[@]}|$TASK_ATTEMPTS|$TASK_MIN_BACKOFF|$TASK_MAX_BACKOFF|$TASK_DOUBLINGS"
	local settings=(--max-concurrent-dispatches="${#RESOURCES[@]}" --max-attempts="$TASK_ATTEMPTS"
		--min-backoff="$TASK_MIN_BACKOFF" --max-backoff="$TASK_MAX_BACKOFF" --max-doublings="$TASK_DOUBLINGS")
	step "ensure the queue"
	for QUEUE in "${DEPLOYED_QUEUE:-$NAME-tasks}" $(queue_names); do
		if find_queue; then
			[[ $ANSWER == "$wanted" ]] || queue_command update "${settings[@]}"
			break
		fi
		! create_queue "${settings[@]}" || break
	done
	read_bindings queue "$QUEUE"
	ensure_role queue "$QUEUE" "$RUN_ACCOUNT" roles/cloudtasks.enqueuer
}

queue_names() {
	local number
	printf '%s\n' "$NAME-tasks"
	for ((number = 2; number <= QUEUE_NAMES; number++)); do printf '%s\n' "$NAME-tasks-$number"; done
}

find_queue() {
	local fields=rateLimits.maxConcurrentDispatches
	fields+=,retryConfig.maxAttempts,retryConfig.minBackoff,retryConfig.maxBackoff,retryConfig.maxDoublings
	look tasks queues describe "$QUEUE" --location="$REGION" --project="$PROJECT" --format="value[separator=\"|\"]($fields)"
}

queue_command() {
	local verb=$1
	shift
	change tasks queues "$verb" "$QUEUE" --location="$REGION" "$@" --project="$PROJECT"
}

# Returns 1 where the name is blocked: that of a deleted queue is, for up to three days.
create_queue() {
	local command=(tasks queues create "$QUEUE" --location="$REGION" "$@" --project="$PROJECT")
	if "$DRY_RUN"; then
		change "${command[@]}"
		return
	fi
	! call_gcloud "${command[@]}" </dev/null || return 0
	[[ $PROBLEM == *FAILED_PRECONDITION* && $QUEUE != "$NAME-tasks-$QUEUE_NAMES" ]] || fail_at "${command[@]}"
	step "ensure the queue under another name, as $QUEUE is not free again yet"
	return 1
}

# The function.

ensure_function() {
	local guess=$FUNCTION_URL
	step "ensure the function $NAME (this takes some minutes)"
	deploy_function
	"$DRY_RUN" || read_deployed
	if [[ $FUNCTION_URL != "$guess" ]]; then
		step "tell the function its address $FUNCTION_URL"
		deploy_function
	fi
}

deploy_function() {
	change functions deploy "$NAME" --gen2 --region="$REGION" --runtime=python313 --source=. --entry-point=load \
		--trigger-http --no-allow-unauthenticated --timeout="${TIMEOUT_SECONDS}s" --memory="$MEMORY" --concurrency=1 \
		--max-instances="$((2 * ${#RESOURCES[@]}))" --service-account="$RUN_ACCOUNT" \
		--build-service-account="projects/$PROJECT/serviceAccounts/$BUILD_ACCOUNT" \
		--set-env-vars="$(function_environment)" --project="$PROJECT"
}

function_environment() {
	local variables=(
		"API_KEY_SECRET=projects/$PROJECT/secrets/$SECRET/versions/latest"
		"DESTINATION=$DESTINATION"
		"DATASET_NAME=$DATASET"
		"TIMEOUT_SECONDS=$TIMEOUT_SECONDS"
		"TASKS_QUEUE=projects/$PROJECT/locations/$REGION/queues/$QUEUE"
		"TASKS_SERVICE_ACCOUNT=$CALL_ACCOUNT"
		"FUNCTION_URL=$FUNCTION_URL"
		# Memory is given back to the system, so that it stays flat: this has to be set before Python starts.
		"ARROW_DEFAULT_MEMORY_POOL=system"
		"MALLOC_ARENA_MAX=2"
		"MALLOC_MMAP_THRESHOLD_=1048576"
	)
	if [[ $DESTINATION == bigquery ]]; then
		variables+=("DESTINATION__BIGQUERY__LOCATION=$REGION")
	else
		variables+=("BUCKET_URL=gs://$BUCKET")
	fi
	[[ -z $BASE_URL ]] || variables+=("BASE_URL=$BASE_URL")
	local IFS='|'
	printf '^|^%s' "${variables[*]}"
}

ensure_invoker() {
	step "ensure that only $NAME-call may call it"
	read_bindings service "$NAME"
	ensure_role service "$NAME" "$CALL_ACCOUNT" roles/run.invoker
}

# The jobs. JOBS holds what each job is, by its name, in the order of JOB_FIELDS; its address comes first.

declare -A JOBS=()
JOB_FIELDS=httpTarget.uri,schedule,timeZone,httpTarget.httpMethod,httpTarget.headers.Content-Type,attemptDeadline
JOB_FIELDS+=,retryConfig.retryCount,retryConfig.minBackoffDuration,retryConfig.maxBackoffDuration
JOB_FIELDS+=,httpTarget.oidcToken.serviceAccountEmail,httpTarget.oidcToken.audience,httpTarget.body

list_jobs() {
	local name facts body
	JOBS=()
	look scheduler jobs list --location="$REGION" --project="$PROJECT" \
		--format="value[separator=\"|\"](name.basename(),$JOB_FIELDS)" || return 0
	while IFS='|' read -r name facts; do
		[[ -n $name ]] || continue
		if calls_function "$facts"; then
			body=${facts##*|}
			body=${body//-/+}
			facts=${facts%|*}\|$(printf '%s' "${body//_//}" | base64 -d 2>/dev/null || printf '%s' "$body")
		fi
		JOBS[$name]=$facts
	done <<<"$ANSWER"
}

# Whose a job is, its address decides: it calls this function, by either of its two addresses.
calls_function() {
	local uri=${1%%|*} url
	for url in "$FUNCTION_URL" "$SERVICE_URL"; do
		[[ $uri != "$url" && $uri != "$url"[/?]* ]] || return 0
	done
	return 1
}

body_for() {
	local resource=${1//\\/\\\\} sweep=${2:+, \"sweep\": true}
	printf '{"resource": "%s"%s}' "${resource//\"/\\\"}" "$sweep"
}

# Prints the resource that a job is for, as its body spells it, and whether it is a sweep.
resource_in() {
	local pattern='"resource"[[:space:]]*:[[:space:]]*("([^"\\]|\\.)*")' sweep='"sweep"[[:space:]]*:[[:space:]]*true' resource
	[[ $1 =~ $pattern ]] || return 1
	resource=${BASH_REMATCH[1]}
	[[ ! $1 =~ $sweep ]] || resource+=" sweep"
	printf '%s' "$resource"
}

ensure_jobs() {
	local index
	step "ensure the jobs"
	list_jobs
	for index in "${!RESOURCES[@]}"; do
		ensure_job "${RESOURCES[index]}" "${CRONS[index]}"
	done
	for index in "${!SWEPT[@]}"; do
		ensure_job "${SWEPT[index]}" "${SWEEP_CRONS[index]}" sweep
	done
	delete_jobs_of_gone_resources
}

ensure_job() {
	local resource=$1 cron=$2 sweep=${3:-} body name wanted
	body=$(body_for "$resource" "$sweep")
	name=$(job_name "$resource${sweep:+-$sweep}" "$body")
	wanted="$FUNCTION_URL|$cron|Etc/UTC|POST|application/json|${TIMEOUT_SECONDS}s|$JOB_RETRIES|$JOB_MIN_BACKOFF"
	wanted+="|$JOB_MAX_BACKOFF|$CALL_ACCOUNT|$FUNCTION_URL|$body"
	if [[ -z ${JOBS[$name]:-} ]]; then
		job_command create "$name" "$cron" "$body" --headers
	elif [[ ${JOBS[$name]} != "$wanted" ]]; then
		job_command update "$name" "$cron" "$body" --update-headers
	fi
	JOBS[$name]=$wanted
}

# The first name that is free, or that of this function's job for this resource: somebody else's job is left alone.
job_name() {
	local base=$NAME-${1//[^A-Za-z0-9_-]/-} body=$2 name number=1
	name=$base
	while [[ -n ${JOBS[$name]:-} ]]; do
		if calls_function "${JOBS[$name]}" && [[ $(resource_in "${JOBS[$name]}") == "$(resource_in "$body")" ]]; then break; fi
		name=$base-$((++number))
	done
	printf '%s' "$name"
}

job_command() {
	local verb=$1 name=$2 cron=$3 body=$4 headers=$5
	change scheduler jobs "$verb" http "$name" --location="$REGION" --schedule="$cron" --time-zone=Etc/UTC \
		--uri="$FUNCTION_URL" --http-method=POST "$headers=Content-Type=application/json" --message-body="$body" \
		--attempt-deadline="${TIMEOUT_SECONDS}s" --max-retry-attempts="$JOB_RETRIES" \
		--min-backoff="$JOB_MIN_BACKOFF" --max-backoff="$JOB_MAX_BACKOFF" \
		--oidc-service-account-email="$CALL_ACCOUNT" --oidc-token-audience="$FUNCTION_URL" --project="$PROJECT"
}

delete_jobs_of_gone_resources() {
	local name resource living=""
	for resource in "${RESOURCES[@]}"; do living+=$'\n'$(resource_in "$(body_for "$resource")")$'\n'; done
	for resource in "${SWEPT[@]}"; do living+=$'\n'$(resource_in "$(body_for "$resource" sweep)")$'\n'; done
	for name in "${!JOBS[@]}"; do
		calls_function "${JOBS[$name]}" || continue
		resource=$(resource_in "${JOBS[$name]}") || continue
		[[ $living == *$'\n'"$resource"$'\n'* ]] || delete_job "$name"
	done
}

delete_job() {
	change scheduler jobs delete "$1" --location="$REGION" --project="$PROJECT"
}

# Taking it away.

confirm_destroy() {
	local answer
	step "confirm that $NAME in $PROJECT is to be destroyed"
	! "$YES" && ! "$DRY_RUN" || return 0
	[[ -t 0 ]] || fail "no terminal to ask at." "say --yes: $(again) --yes"
	if ! read -r -p "       Type the name $NAME to go on: " answer; then answer=""; fi
	[[ $answer == "$NAME" ]] || fail "'$answer' instead of $NAME." "nothing was changed; run it again if it was a slip."
}

destroy() {
	confirm_destroy
	step "look at what is deployed"
	read_deployed
	[[ -n $BUCKET || -z $DEPLOYED_BUCKET ]] || { BUCKET=$DEPLOYED_BUCKET DESTINATION=filesystem; }
	"$SECRET_GIVEN" || SECRET=${DEPLOYED_SECRET:-$SECRET}
	DATASET=${DEPLOYED_DATASET:-$DATASET}
	delete_jobs
	delete_queues
	# Before the function, which alone knows these names.
	step "take back the rights to the secret and the bucket"
	remove_own_roles secret "$SECRET"
	[[ -z $BUCKET ]] || remove_own_roles bucket "$BUCKET"
	remove_former_roles
	delete_function
	step "take back the rights in the project"
	remove_own_roles project "$PROJECT"
	delete_secret
	delete_accounts
	say_what_is_kept
}

delete_jobs() {
	local name
	step "delete the jobs"
	list_jobs
	for name in "${!JOBS[@]}"; do
		! calls_function "${JOBS[$name]}" || delete_job "$name"
	done
}

delete_queues() {
	local names
	step "delete the queue"
	mapfile -t names < <(queue_names)
	[[ -z $DEPLOYED_QUEUE || " ${names[*]} " == *" $DEPLOYED_QUEUE "* ]] || names+=("$DEPLOYED_QUEUE")
	for QUEUE in "${names[@]}"; do
		! find_queue || queue_command delete
	done
}

delete_function() {
	step "delete the function"
	! "$FUNCTION_EXISTS" || change functions delete "$NAME" --gen2 --region="$REGION" --project="$PROJECT"
}

delete_secret() {
	step "delete the secret, if it was made here"
	look secrets describe "$SECRET" --project="$PROJECT" --format="value(labels.$SECRET_LABEL)" || return 0
	[[ $ANSWER != "$NAME" ]] || change secrets delete "$SECRET" --project="$PROJECT"
}

delete_accounts() {
	local account
	step "delete the accounts"
	for account in "$RUN_ACCOUNT" "$CALL_ACCOUNT" "$BUILD_ACCOUNT"; do
		! look iam service-accounts describe "$account" --project="$PROJECT" --format='value(email)' ||
			change iam service-accounts delete "$account" --project="$PROJECT"
	done
}

say_what_is_kept() {
	say "" "Destroyed: $NAME in $PROJECT. Bucket and data sets are kept, with what was loaded:"
	if [[ -n $BUCKET ]]; then
		say "  the bucket gs://$BUCKET"
	else
		say "  the BigQuery data sets $DATASET and ${DATASET}_staging"
	fi
}

# Making it.

deploy() {
	read_schedules
	enable_services
	check_region
	step "look at what is deployed"
	read_deployed
	decide_about_key
	ensure_accounts
	ensure_project_rights # early, as what the build account may do takes a while to be known
	ensure_secret
	ensure_queue
	ensure_call_rights
	[[ $DESTINATION == bigquery ]] || ensure_bucket
	remove_former_roles
	ensure_function
	ensure_invoker
	ensure_jobs
	say_what_next
}

say_what_next() {
	local where="--project=$PROJECT" status=(DESTINATION="$DESTINATION" DATASET_NAME="$DATASET")
	! "$DRY_RUN" || return 0
	if [[ $DESTINATION == bigquery ]]; then
		status+=(DESTINATION__BIGQUERY__LOCATION="$REGION" GOOGLE_CLOUD_PROJECT="$PROJECT")
	else
		status+=(BUCKET_URL="gs://$BUCKET")
	fi
	say "" "Deployed: $NAME loads ${#RESOURCES[@]} resources, each on its schedule." 		"  run one now:  gcloud scheduler jobs run $(job_name "${RESOURCES[0]}" "$(body_for "${RESOURCES[0]}")") --location=$REGION $where" 		"  its logs:     gcloud functions logs read $NAME --gen2 --region=$REGION --limit=50 $where" 		"  the status:   $(print_command "${status[@]}") .venv/bin/python main.py --status" 		"  the schedule: gcloud scheduler jobs list --location=$REGION $where"
}

prepare() {
	command -v gcloud >/dev/null || fail "no gcloud on the PATH." "install the Google Cloud CLI."
	cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
	export CLOUDSDK_CORE_DISABLE_PROMPTS=1 CLOUDSDK_CORE_SHOULD_PROMPT_TO_ENABLE_API=0
	ERRORS=$(mktemp)
	trap 'rm -f -- "$ERRORS"' EXIT
}

main() {
	parse_arguments "$@"
	check_arguments
	name_everything
	STEP="start"
	prepare
	if "$DESTROY"; then destroy; else deploy; fi
}

main "$@"
