package restricted_node_edits

import data.lib.request
import data.lib.requester

violation[{"msg": msg}] {
  input.review.oldObject != null
  marks(input.review.oldObject) != marks(request.object)
  not requester.allowed
  msg := "Tainting or labelling individual nodes is not recommended. Set labels and taints of the node pool instead."
}

# Labels and taints, in whatever order. The rest of a node is its kubelet's business.
marks(node) = [
  {[key, value] | value := node.metadata.labels[key]},
  {taint | taint := node.spec.taints[_]},
]
