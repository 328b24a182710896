#!/bin/bash
# Plays the entry point of the official mysql image in tests, which have no registry to pull that image from. Written for this project from
# what the image's page on Docker Hub promises; entrypoint_test.go has an assertion for each promise.
#
# Like the original it trusts a data directory in which there is a folder "mysql", and cannot tell that an earlier run was killed half-way.
set -euo pipefail
shopt -s nullglob

say() { printf '%s [entrypoint] %s\n' "$(date --utc +%FT%TZ)" "$*"; }
die() { say "ERROR: $*" >&2; exit 1; }

# from_file NAME reads NAME from the file that NAME_FILE names, as for secrets.
from_file() {
	local name="$1" file="${1}_FILE"
	[[ -z "${!name:-}" || -z "${!file:-}" ]] || die "both $name and $file are set; set one of them"
	if [[ -n "${!file:-}" ]]; then
		printf -v "$name" '%s' "$(< "${!file}")"
	fi
	unset "$file"
}

# config NAME prints a variable of the server as all option files and the command line make it.
config() {
	"$server" "${flags[@]}" --verbose --help --log-bin-index=/tmp/none 2> /dev/null |
		awk -v name="$1" '/^-+ -+$/ { variables = 1 } variables && $1 == name { print $2; exit }'
}

# quoted TEXT prints a string literal.
quoted() { local text="${1//\\/\\\\}"; printf "'%s'" "${text//\'/\\\'}"; }

# client ARG... is mysql as root of the temporary server. The password is in no argument.
client() {
	mysql --defaults-extra-file=<(printf '[client]\npassword="%s"\n' "$(sed 's/[\\"]/\\&/g' <<< "$root_now")") \
		--user=root --protocol=socket --socket="$socket" --binary-mode "$@"
}

start_temporary() {
	"$server" "${flags[@]}" --skip-networking --socket="$socket" --loose-mysqlx=OFF &
	temporary=$!
	until client --execute='SELECT 1' &> /dev/null; do
		kill -0 "$temporary" 2> /dev/null || die "the temporary server ended"
		sleep 0.1
	done
}

stop_temporary() {
	kill "$temporary"
	wait "$temporary" || die "the temporary server did not end well"
}

# accounts makes root what the environment says. These statements are in no binary log.
accounts() {
	if [[ -n "${MYSQL_RANDOM_ROOT_PASSWORD:-}" ]]; then
		MYSQL_ROOT_PASSWORD="$(head -c 18 /dev/urandom | base64)"
		say "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
	fi
	local password host
	password="$(quoted "${MYSQL_ROOT_PASSWORD:-}")" host="${MYSQL_ROOT_HOST-%}"
	{
		echo "SET SESSION sql_log_bin = OFF;"
		echo "ALTER USER root@localhost IDENTIFIED BY $password;"
		if [[ -n "$host" && "$host" != localhost ]]; then
			echo "CREATE USER root@$(quoted "$host") IDENTIFIED BY $password;"
			echo "GRANT ALL ON *.* TO root@$(quoted "$host") WITH GRANT OPTION;"
		fi
	} | client --database=mysql
	root_now="${MYSQL_ROOT_PASSWORD:-}"
}

database_and_user() {
	local name="${MYSQL_DATABASE:-}"
	if [[ -n "$name" ]]; then
		say "creating database $name"
		client <<< "CREATE DATABASE IF NOT EXISTS \`${name//\`/\`\`}\`;"
	fi
	if [[ -n "${MYSQL_USER:-}" && -n "${MYSQL_PASSWORD:-}" ]]; then
		say "creating user $MYSQL_USER"
		client <<< "CREATE USER $(quoted "$MYSQL_USER")@'%' IDENTIFIED BY $(quoted "$MYSQL_PASSWORD");"
		if [[ -n "$name" ]]; then
			local pattern="${name//_/\\_}" # a grant takes a pattern
			client <<< "GRANT ALL ON \`${pattern//\`/\`\`}\`.* TO $(quoted "$MYSQL_USER")@'%';"
		fi
	elif [[ -n "${MYSQL_USER:-}${MYSQL_PASSWORD:-}" ]]; then
		say "WARNING: MYSQL_USER and MYSQL_PASSWORD go together; no user was created"
	fi
}

# hooks runs what was mounted, in the order of names. What is not executable is sourced, and so may use all of the above.
hooks() {
	local file
	for file in /docker-entrypoint-initdb.d/*; do
		case "$file" in
		*.sh)
			say "running $file"
			if [[ -x "$file" ]]; then "$file"; else . "$file"; fi ;;
		*.sql)
			say "running $file"
			client ${MYSQL_DATABASE:+--database="$MYSQL_DATABASE"} < "$file" ;;
		*.sql.gz)
			say "running $file"
			gzip --decompress --stdout "$file" | client ${MYSQL_DATABASE:+--database="$MYSQL_DATABASE"} ;;
		*)
			say "ignoring $file" ;;
		esac
	done
}

first_initialisation() {
	if [[ -z "${MYSQL_ROOT_PASSWORD:-}${MYSQL_ALLOW_EMPTY_PASSWORD:-}${MYSQL_RANDOM_ROOT_PASSWORD:-}" ]]; then
		die "the database is uninitialised and no password option is given: set one of MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD, MYSQL_RANDOM_ROOT_PASSWORD"
	fi
	[[ "${MYSQL_USER:-}" != root ]] || die 'MYSQL_USER is "root", which exists already; use MYSQL_ROOT_PASSWORD'
	say "initialising $data"
	"$server" "${flags[@]}" --initialize-insecure
	root_now=
	say "starting a temporary server"
	start_temporary
	if [[ -z "${MYSQL_INITDB_SKIP_TZINFO:-}" ]]; then
		mysql_tzinfo_to_sql /usr/share/zoneinfo 2> /dev/null | client --database=mysql
	fi
	accounts
	database_and_user
	hooks
	if [[ -n "${MYSQL_ONETIME_PASSWORD:-}" ]]; then
		client <<< "ALTER USER root@'${MYSQL_ROOT_HOST:-%}' PASSWORD EXPIRE;"
	fi
	stop_temporary
	say "MySQL init process done. Ready for start up."
}

if [[ $# -eq 0 || "$1" == -* ]]; then
	set -- mysqld "$@"
fi
if [[ "$1" != mysqld ]]; then
	exec "$@"
fi
for flag; do
	case "$flag" in '-?' | --help | --print-defaults | -V | --version) exec "$@" ;; esac
done

server="$1" flags=("${@:2}")
"$server" "${flags[@]}" --verbose --help --log-bin-index=/tmp/none > /dev/null || die "mysqld refuses its configuration"
data="$(config datadir)" data="${data%/}" socket="$(config socket)"
mkdir -p "$data"
if [[ "$(id -u)" == 0 ]]; then
	find "$data/" \! -user mysql -exec chown mysql: '{}' +
	find "${socket%/*}" -maxdepth 0 \! -user mysql -exec chown mysql: '{}' +
	exec gosu mysql "${BASH_SOURCE[0]}" "$@"
fi
if [[ ! -d "$data/mysql" ]]; then
	for name in MYSQL_ROOT_PASSWORD MYSQL_ROOT_HOST MYSQL_DATABASE MYSQL_USER MYSQL_PASSWORD; do
		from_file "$name"
	done
	first_initialisation
fi
ln -sfn "$socket" /var/lib/mysql/mysql.sock || : # where programs of the official image look for it
exec "$@"
