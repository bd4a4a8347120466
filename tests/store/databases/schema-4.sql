BEGIN TRANSACTION;
CREATE TABLE beats (
        node_id TEXT PRIMARY KEY, heard INTEGER NOT NULL, ttl INTEGER NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "beats" VALUES('11111111-2222-4333-8444-555555555555',1795949630260821412,2000000000);
INSERT INTO "beats" VALUES('22222222-2222-4333-8444-555555555555',1795949630262937686,2000000000);
INSERT INTO "beats" VALUES('33333333-2222-4333-8444-555555555555',1795949627946307387,2000000000);
CREATE TABLE declarations (
        type TEXT NOT NULL, id TEXT NOT NULL, expected TEXT NOT NULL, PRIMARY KEY (type, id)
    ) WITHOUT ROWID;
INSERT INTO "declarations" VALUES('csi','declared','{"controller":3,"node":16}');
INSERT INTO "declarations" VALUES('csi','ebs0','{"node":3}');
CREATE TABLE forgotten (
        node_id TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, role TEXT NOT NULL,
        time INTEGER NOT NULL, ignored INTEGER NOT NULL, PRIMARY KEY (node_id, type, id, role)
    ) WITHOUT ROWID;
INSERT INTO "forgotten" VALUES('11111111-2222-4333-8444-555555555555','csi','forgotten','node',1795949627953773169,0);
CREATE TABLE instances (
        node_id TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, role TEXT NOT NULL,
        healthy INTEGER NOT NULL, description TEXT NOT NULL, updated INTEGER NOT NULL,
        alloc_id TEXT NOT NULL, details TEXT NOT NULL, digest TEXT NOT NULL, missing_since INTEGER, allocation TEXT,
        PRIMARY KEY (node_id, type, id, role)
    ) WITHOUT ROWID;
INSERT INTO "instances" VALUES('11111111-2222-4333-8444-555555555555','csi','bare','node',0,'unhealthy, no reason given',1795949627957240806,'','{"NodeInfo":{"AccessibleTopology":null,"ID":"","MaxVolumes":0,"RequiresNodeStageVolume":false,"SupportsCondition":false,"SupportsExpand":false,"SupportsStats":false},"Provider":"","ProviderVersion":"","RequiresControllerPlugin":false,"RequiresTopologies":false}','38a0203e18c7313f2f2c0f8ca1f8f53b',NULL,NULL);
INSERT INTO "instances" VALUES('11111111-2222-4333-8444-555555555555','csi','ebs0','controller',1,'healthy',1795949627930283280,'5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001','{"ControllerInfo":{"SupportsAttachDetach":true,"SupportsClone":true,"SupportsCondition":false,"SupportsCreateDelete":false,"SupportsCreateDeleteSnapshot":false,"SupportsExpand":false,"SupportsGet":false,"SupportsGetCapacity":false,"SupportsListSnapshots":false,"SupportsListVolumes":true,"SupportsListVolumesAttachedNodes":false,"SupportsReadOnlyAttach":false},"Provider":"ebs.csi.aws.com","ProviderVersion":"v1.2.3","RequiresControllerPlugin":true,"RequiresTopologies":true}','1aae7b5b26927f4fc88db776dbae082d',NULL,NULL);
INSERT INTO "instances" VALUES('11111111-2222-4333-8444-555555555555','csi','ebs0','node',1,'healthy',1795949627930283280,'5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001','{"NodeInfo":{"AccessibleTopology":{"Segments":{"rack":"ä7","zone":"z1"}},"ID":"i-z1","MaxVolumes":9223372036854775807,"RequiresNodeStageVolume":true,"SupportsCondition":false,"SupportsExpand":false,"SupportsStats":false},"Provider":"ebs.csi.aws.com","ProviderVersion":"v1.2.3","RequiresControllerPlugin":true,"RequiresTopologies":true}','6d7e65f6c30d039ab7588fc4ae3b5f62',NULL,NULL);
INSERT INTO "instances" VALUES('11111111-2222-4333-8444-555555555555','csi','old','node',1,'fine',1795949627930283280,'','{"NodeInfo":{"AccessibleTopology":null,"ID":"","MaxVolumes":0,"RequiresNodeStageVolume":false,"SupportsCondition":false,"SupportsExpand":false,"SupportsStats":false},"Provider":"old.example","ProviderVersion":"","RequiresControllerPlugin":false,"RequiresTopologies":false}','ecef2fe1fc7f42b59f5f5d4485a8f8ed',1795949627957240806,NULL);
INSERT INTO "instances" VALUES('22222222-2222-4333-8444-555555555555','csi','ebs0','controller',1,'healthy',1795949627939014266,'5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001','{"ControllerInfo":{"SupportsAttachDetach":true,"SupportsClone":true,"SupportsCondition":false,"SupportsCreateDelete":false,"SupportsCreateDeleteSnapshot":false,"SupportsExpand":false,"SupportsGet":false,"SupportsGetCapacity":false,"SupportsListSnapshots":false,"SupportsListVolumes":true,"SupportsListVolumesAttachedNodes":false,"SupportsReadOnlyAttach":false},"Provider":"ebs.csi.aws.com","ProviderVersion":"v1.3.0","RequiresControllerPlugin":true,"RequiresTopologies":true}','28839512c99d22c419f39cbe8e4355ff',NULL,NULL);
INSERT INTO "instances" VALUES('22222222-2222-4333-8444-555555555555','csi','ebs0','node',1,'healthy',1795949627939014266,'5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001','{"NodeInfo":{"AccessibleTopology":{"Segments":{"rack":"ä7","zone":"z2"}},"ID":"i-z2","MaxVolumes":9223372036854775807,"RequiresNodeStageVolume":true,"SupportsCondition":false,"SupportsExpand":false,"SupportsStats":false},"Provider":"ebs.csi.aws.com","ProviderVersion":"v1.3.0","RequiresControllerPlugin":true,"RequiresTopologies":true}','8e5c66a0f3f9e0fc5ccd33fac007e25a',NULL,NULL);
INSERT INTO "instances" VALUES('22222222-2222-4333-8444-555555555555','csi','nfs','controller',1,'healthy',1769900400000000005,'','{"ControllerInfo":{"SupportsAttachDetach":false,"SupportsClone":false,"SupportsCondition":false,"SupportsCreateDelete":false,"SupportsCreateDeleteSnapshot":false,"SupportsExpand":false,"SupportsGet":false,"SupportsGetCapacity":false,"SupportsListSnapshots":false,"SupportsListVolumes":false,"SupportsListVolumesAttachedNodes":false,"SupportsReadOnlyAttach":false},"Provider":"nfs.example","ProviderVersion":"","RequiresControllerPlugin":false,"RequiresTopologies":false}','8fb85ad19646d808adebc45ccfe6b955',NULL,NULL);
INSERT INTO "instances" VALUES('22222222-2222-4333-8444-555555555555','csi','nfs','node',0,'Probe failed: "böse" 💾',1769900400000000005,'','{"NodeInfo":{"AccessibleTopology":null,"ID":"","MaxVolumes":0,"RequiresNodeStageVolume":false,"SupportsCondition":false,"SupportsExpand":false,"SupportsStats":false},"Provider":"nfs.example","ProviderVersion":"","RequiresControllerPlugin":false,"RequiresTopologies":false}','a9ed243a9ee8c7163e705ab509c9466e',NULL,NULL);
INSERT INTO "instances" VALUES('33333333-2222-4333-8444-555555555555','csi','ebs0','controller',1,'healthy',1795949627944340462,'5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001','{"ControllerInfo":{"SupportsAttachDetach":true,"SupportsClone":true,"SupportsCondition":false,"SupportsCreateDelete":false,"SupportsCreateDeleteSnapshot":false,"SupportsExpand":false,"SupportsGet":false,"SupportsGetCapacity":false,"SupportsListSnapshots":false,"SupportsListVolumes":true,"SupportsListVolumesAttachedNodes":false,"SupportsReadOnlyAttach":false},"Provider":"ebs.csi.aws.com","ProviderVersion":"v1.2.3","RequiresControllerPlugin":true,"RequiresTopologies":true}','1aae7b5b26927f4fc88db776dbae082d',NULL,NULL);
INSERT INTO "instances" VALUES('33333333-2222-4333-8444-555555555555','csi','ebs0','node',1,'healthy',1795949627944340462,'5dd1f7a1-0c7a-4c1c-8d5c-7d9d9f2ac001','{"NodeInfo":{"AccessibleTopology":{"Segments":{"rack":"ä7","zone":"z3"}},"ID":"i-z3","MaxVolumes":9223372036854775807,"RequiresNodeStageVolume":true,"SupportsCondition":false,"SupportsExpand":false,"SupportsStats":false},"Provider":"ebs.csi.aws.com","ProviderVersion":"v1.2.3","RequiresControllerPlugin":true,"RequiresTopologies":true}','8085f5d2f4493657cd37529e98afad28',NULL,NULL);
INSERT INTO "instances" VALUES('33333333-2222-4333-8444-555555555555','csi','lonely','node',0,'Probe failed: "böse" 💾',1769900400000000005,'','{"NodeInfo":{"AccessibleTopology":null,"ID":"","MaxVolumes":0,"RequiresNodeStageVolume":false,"SupportsCondition":false,"SupportsExpand":false,"SupportsStats":false},"Provider":"nfs.example","ProviderVersion":"","RequiresControllerPlugin":false,"RequiresTopologies":false}','a9ed243a9ee8c7163e705ab509c9466e',NULL,NULL);
CREATE TABLE nodes (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, datacenter TEXT NOT NULL, version TEXT NOT NULL,
        address TEXT NOT NULL, attributes TEXT NOT NULL, meta TEXT NOT NULL,
        secret_hash TEXT NOT NULL, status TEXT NOT NULL, status_since INTEGER NOT NULL,
        back_since INTEGER NOT NULL
    , cloned_since INTEGER NOT NULL DEFAULT 0, heard INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
INSERT INTO "nodes" VALUES('11111111-2222-4333-8444-555555555555','vm one','dc2','0.1.0','10.0.0.1','{"kernel.name":"linux","os.name":"debian"}','{"rack":"ä7"}','8a23d44bf6721483e3257b906a33f144e6ad3bb927f94a36e9f16073eee1a12b','ready',1795949627930283280,0,0,0);
INSERT INTO "nodes" VALUES('22222222-2222-4333-8444-555555555555','vm2','dc1','0.1.0','','{}','{}','e17d4868304ad6594c1890d055e7b131724a35bbf44684e7bfb8694d21038672','ready',1795949630255819706,1795949630255819706,0,1795949627940703517);
INSERT INTO "nodes" VALUES('33333333-2222-4333-8444-555555555555','vm3','dc1','0.1.0','','{}','{}','29261d82112617d2edae2b431cfe885e9e1022672f551a91e9082e6cf6ca0d16','down',1795949630170391177,0,0,1795949627946307387);
CREATE TABLE stamps (
        resource TEXT PRIMARY KEY, create_index INTEGER NOT NULL, modify_index INTEGER NOT NULL,
        create_time INTEGER NOT NULL, modify_time INTEGER NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "stamps" VALUES('node/11111111-2222-4333-8444-555555555555',3,8,1795949627930283280,1795949627957240806);
INSERT INTO "stamps" VALUES('node/22222222-2222-4333-8444-555555555555',4,10,1795949627939014266,1795949630255819706);
INSERT INTO "stamps" VALUES('node/33333333-2222-4333-8444-555555555555',5,9,1795949627944340462,1795949630170391177);
INSERT INTO "stamps" VALUES('nodes',3,10,1795949627930283280,1795949630255819706);
INSERT INTO "stamps" VALUES('plugin/csi/bare',3,8,1795949627930283280,1795949627957240806);
INSERT INTO "stamps" VALUES('plugin/csi/declared',2,2,1795949627861155651,1795949627861155651);
INSERT INTO "stamps" VALUES('plugin/csi/ebs0',2,10,1795949627861155651,1795949630255819706);
INSERT INTO "stamps" VALUES('plugin/csi/lonely',5,9,1795949627944340462,1795949630170391177);
INSERT INTO "stamps" VALUES('plugin/csi/nfs',4,10,1795949627939014266,1795949630255819706);
INSERT INTO "stamps" VALUES('plugin/csi/old',3,8,1795949627930283280,1795949627957240806);
INSERT INTO "stamps" VALUES('plugins/csi',2,10,1795949627861155651,1795949630255819706);
CREATE TABLE store (identity TEXT NOT NULL, last_index INTEGER NOT NULL);
INSERT INTO "store" VALUES('f8bed4c8-23c5-409c-a2a3-4fa466b7635b',10);
COMMIT;
PRAGMA user_version = 4;
