#!/bin/sh
# Breaks the glass: one kubectl command on what azpolicy manages, while prevention refuses it to everybody.
#
#   break-glass.sh REASON KUBECTL-ARGUMENTS…
#   break-glass.sh 'pods of the registry are denied' delete k8sazurev2containerallowedimages azurepolicy-…
#
# It suspends azpolicy for an hour, because it would restore the object at once, and then acts as a member of the group
# that the chart's prevention.breakGlassGroup names. You need the right to impersonate; the audit log has your own name.
# `azpolicy resume` ends the suspension and restores what was changed.
set -eu
reason=$1
shift
azpolicy suspend --for 1h --reason "$reason"
kubectl "$@" --as="$(id -un)" --as-group=system:masters --as-group=azpolicy-break-glass
