#!/usr/bin/env bash
# Prefect 3.9.1: `update_automation` leaves out each field whose value is the default, so it is refused or changes less.
#
# Behaviour: `client.update_automation(id, automation)` sends only the fields that were given to the constructor, at
#   every level of the model. `client.create_automation` sends all of them. So the same object can be used to create an
#   automation, but not to update it: without its default posture, the trigger is refused with status 422. When the
#   trigger is complete, the request is accepted, and the server keeps its own value of each field that is missing. An
#   automation that was paused stays paused, although `automation.enabled` is true, and an old description stays although
#   `automation.description` is empty.
# Why one would expect otherwise: the method takes a whole automation and sends it with PUT, which replaces. Both methods
#   take the same class, and the object's attributes show the values that are not sent.
# Consequence: code that keeps an automation up to date has to give each field to the constructor, defaults as well.
#
# Output seen:
#   created from the object:            accepted,    enabled True,  description ''
#   updated with the same object:       refused 422, enabled True,  description ''
#     ['body', 'trigger', 'EventTrigger', 'posture']: Field required
#   paused and described by hand:       accepted,    enabled False, description 'paused for the audit'
#   updated, posture given:             accepted,    enabled False, description 'paused for the audit'
#   updated, enabled, description too:  accepted,    enabled True,  description ''
#   the three objects have the same values: True
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
server=
stop() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap stop EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1

port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=WARNING
export PREFECT_API_URL="http://127.0.0.1:$port/api"
venv/bin/prefect server start --no-ui --host 127.0.0.1 --port "$port" >server.log 2>&1 &
server=$!

echo "Prefect 3.9.1: an automation is created from an object, and updated with one of the same values."
echo "Expected by most readers: after each update, the automation has the values of the object."
echo
for _ in $(seq 120); do
  venv/bin/python -c "import httpx; httpx.get('$PREFECT_API_URL/health').raise_for_status()" 2>/dev/null && break
  sleep 1
done
cat >update.py <<'PY'
import sys

from prefect.client.orchestration import get_client
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import PrefectHTTPStatusError

# Each of these is what the field is without being given.
POSTURE = {"posture": Posture.Reactive}
REST = {"enabled": True, "description": ""}


def wanted(posture, **rest):
    trigger = EventTrigger(expect={"document.stored"}, threshold=1, within=0, **posture)
    return AutomationCore(name="watch", trigger=trigger, actions=[DoNothing()], **rest)


def same(one, other):
    """Whether both have the same values; each trigger has an id of its own."""
    return one.model_dump(exclude={"trigger": {"id"}}) == other.model_dump(exclude={"trigger": {"id"}})


def by_hand():
    # As a person would do it in the user interface.
    client.update_automation(automation, wanted(POSTURE, enabled=False, description="paused for the audit"))


with get_client(sync_client=True) as client:
    automation = client.create_automation(wanted({}))
    seen = []

    def show(what, change):
        refused, missing = None, []
        try:
            change()
        except PrefectHTTPStatusError as error:
            refused = error.response.status_code
            details = error.response.json()["exception_detail"]
            missing = [found for found in details if "EventTrigger" in found["loc"]]
        found = client.read_automations_by_name("watch")[0]
        answer = f"refused {refused}," if refused else "accepted,"
        print(f"{what:35} {answer:12} enabled {f'{found.enabled},':6} description {found.description!r}")
        for problem in missing:
            print(f"  {problem['loc']}: {problem['msg']}")
        seen.append((refused, found.enabled, found.description))

    def update_with(*given, **rest):
        return lambda: client.update_automation(automation, wanted(*given, **rest))

    show("created from the object:", lambda: None)
    show("updated with the same object:", update_with({}))
    show("paused and described by hand:", by_hand)
    show("updated, posture given:", update_with(POSTURE))
    show("updated, enabled, description too:", update_with(POSTURE, **REST))

equal = same(wanted({}), wanted(POSTURE)) and same(wanted({}), wanted(POSTURE, **REST))
print("the three objects have the same values:", equal)
kept = (None, False, "paused for the audit")
if not equal or seen != [(None, True, ""), (422, True, ""), kept, kept, (None, True, "")]:
    sys.exit("NOT AS DESCRIBED")
print("As described: only fields that were given to the constructor count.")
PY
venv/bin/python update.py
