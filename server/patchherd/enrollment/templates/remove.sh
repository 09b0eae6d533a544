#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Removes the Patchherd agent, its timer, its state and its credentials from this host.
set -u

AGENT_FILE=/usr/local/lib/patchherd/patchherd_agent.py

main() {
    [ "$(id -u)" -eq 0 ] || {
        echo "Error: run this as root (for example: curl ... | sudo sh)" >&2
        exit 1
    }
    if [ ! -f "$AGENT_FILE" ]; then
        echo "The agent is not installed"
        exit 0
    fi
    for candidate in python3 /usr/bin/python3 /usr/libexec/platform-python; do
        if command -v "$candidate" >/dev/null 2>&1; then
            "$candidate" "$AGENT_FILE" uninstall </dev/null || exit 1
            echo "The agent is removed"
            exit 0
        fi
    done
    echo "Error: Python 3 is needed" >&2
    exit 1
}

# Last, so that a script which arrives in part does nothing.
main
