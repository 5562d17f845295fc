#!/bin/sh
# run.py as the service runs it: its user, its configuration and its environment, so that it opens the same database.
# sudo install -m 0755 deploy/systemd/lectern.sh /usr/local/bin/lectern; then: lectern doctor
set -eu
home=/opt/lectern
folder=/etc/lectern
[ "$(id -u)" = 0 ] || exec sudo "$0" "$@"

# Read as systemd's EnvironmentFile: nothing in a value is executed, however many & and $ a password has.
while read -r line || [ -n "$line" ]; do
  case $line in
    '' | '#'* | ';'*) continue ;;
    *=*) ;;
    *) echo "$folder/lectern.env: a line without =" >&2 && exit 1 ;;
  esac
  value=${line#*=}
  case $value in
    \"*\") value=${value#\"} value=${value%\"} ;;
    \'*\') value=${value#\'} value=${value%\'} ;;
  esac
  export "${line%%=*}=$value"
done <"$folder/lectern.env"

umask 077
exec setpriv --reuid=lectern --regid=lectern --init-groups "$home/.venv/bin/python" "$home/run.py" --config "$folder/config.yaml" "$@"
