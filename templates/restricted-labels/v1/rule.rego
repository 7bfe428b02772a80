package restricted_labels

import data.lib.request
import data.lib.requester

# Whole keys, whether the object had the label before or not.
violation[{"msg": msg}] {
  request.object.metadata.labels[input.parameters.labels[_]]
  not requester.allowed
  msg := sprintf("Label <%v> is reserved for AKS use only", [{label | label := input.parameters.labels[_]}])
}
