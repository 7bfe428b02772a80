package block_automount_token

import data.lib.pod
import data.lib.request

violation[{"msg": msg}] {
  pod.spec
  not pod.spec.automountServiceAccountToken == false
  msg := sprintf("Automounting service account token is disallowed, pod: %v", [request.name])
}
