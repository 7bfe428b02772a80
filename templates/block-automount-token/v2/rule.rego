package block_automount_token

import data.lib.containers
import data.lib.pod

violation[{"msg": msg}] {
  automounted
  not containers.pod_excluded
  msg := "The pod must set automountServiceAccountToken to false: its service account's token is mounted."
}

automounted {
  pod.spec.automountServiceAccountToken == true
}

automounted {
  not set
  not admitted
  pod.template
}

# The service account can refuse the token as well: a pod that went through admission has the mount if it did not.
automounted {
  not set
  containers.listed[_].container.volumeMounts[_].mountPath == "/var/run/secrets/kubernetes.io/serviceaccount"
}

set {
  is_boolean(pod.spec.automountServiceAccountToken)
}

admitted {
  pod.template.metadata.uid
}
