package block_automount_token

import data.lib.containers
import data.lib.pod
import data.lib.request

violation[{"msg": msg}] {
  automounted(object.get(pod.spec, "automountServiceAccountToken", "not set"))
  containers.pod_judged
  msg := sprintf("Automounting service account token is disallowed, pod: %v", [request.name])
}

automounted(true)

# The service account can refuse the token as well, so the mount tells it that the API server adds otherwise.
automounted("not set") {
  containers.all[_].volumeMounts[_].mountPath == "/var/run/secrets/kubernetes.io/serviceaccount"
}

# A file that no API server has seen has no mount yet: the default is to add one.
automounted("not set") {
  not request.object.metadata.uid
}
