"""The audit of a home: named checks of everything that rows, blobs, Prefect, webhooks and processes promise each other.

Reads and changes nothing, except that a deep audit records what it verified, as ``waybill files verify`` does. Works
while runs and servers are under way: what looks wrong for a moment is looked at again or has a tolerance. Start reading
at `findings` (every check and what it expects), then `audit` (what is examined in which order). Each other module is a
group of checks. `runs` imports Prefect, so it is loaded only where a Prefect server answers.
"""
