package enforce_csi_driver

import data.lib.request

violation[{"msg": msg}] {
  provisioner := request.object.provisioner
  startswith(provisioner, "kubernetes.io/")
  not provisioner == "kubernetes.io/no-provisioner"
  named := [request.name, provisioner, object.get(drivers, provisioner, "the driver of that storage")]
  msg := sprintf("StorageClass %v must not use the in-tree provisioner %v but a CSI driver: %v.", named)
}

# What follows the in-tree provisioners of Azure.
drivers = {
  "kubernetes.io/azure-disk": "disk.csi.azure.com",
  "kubernetes.io/azure-file": "file.csi.azure.com",
}
