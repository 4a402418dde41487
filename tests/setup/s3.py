"""A server that speaks S3's protocol on 127.0.0.1 and verifies signatures.

usage: s3.py BUCKET FILE...    serves the files as objects; one line of JSON on standard output says how to reach them
"""

import json
import os
import pathlib
import sys

import boto3
from moto import settings
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"


def main():
    bucket, files = sys.argv[1], [pathlib.Path(name) for name in sys.argv[2:]]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    os.environ.update(AWS_ACCESS_KEY_ID="setup", AWS_SECRET_ACCESS_KEY="setup")
    iam = boto3.client("iam", region_name=REGION, endpoint_url=endpoint)
    iam.create_user(UserName="reader")
    allowed = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}],
    }
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=json.dumps(allowed))
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    # Somebody who may do nothing but take on roles, and two roles, of which the first may take on the second.
    assume = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}
    iam.create_user(UserName="deployer")
    iam.put_user_policy(UserName="deployer", PolicyName="assume", PolicyDocument=json.dumps(assume))
    deployer = iam.create_access_key(UserName="deployer")["AccessKey"]
    roles = {}
    for name, document in [("between", assume), ("reading", allowed)]:
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]}
        roles[name] = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(document))
    sts = boto3.client("sts", region_name=REGION, endpoint_url=endpoint)
    assumed = sts.assume_role(RoleArn=roles["reading"], RoleSessionName="setup")["Credentials"]
    s3 = boto3.client("s3", region_name=REGION, endpoint_url=endpoint)
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    for file in files:
        s3.put_object(Bucket=bucket, Key=file.name, Body=file.read_bytes())
    # From here on nothing is answered without a signature.
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    said = {
        "endpoint": endpoint,
        "region": REGION,
        "id": key["AccessKeyId"],
        "secret": key["SecretAccessKey"],
        "deployer_id": deployer["AccessKeyId"],
        "deployer_secret": deployer["SecretAccessKey"],
        "between": roles["between"],
        "reading": roles["reading"],
        "assumed_id": assumed["AccessKeyId"],
        "assumed_secret": assumed["SecretAccessKey"],
        "assumed_token": assumed["SessionToken"],
    }
    print(json.dumps(said), flush=True)
    sys.stdin.read()


main()
