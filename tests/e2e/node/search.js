// Searches with a photo, knowing nothing but proto/, and prints the hits of each object as JSON.
//
//   node search.js PROTO_FOLDER TARGET IMAGE

const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const [protoFolder, target, image] = process.argv.slice(2);
const definition = protoLoader.loadSync("semblance/v1/search.proto", { includeDirs: [protoFolder], keepCase: true });
const { SearchService } = grpc.loadPackageDefinition(definition).semblance.v1;
const client = new SearchService(target, grpc.credentials.createInsecure());
const request = { image: fs.readFileSync(image), options: { top_k: 5 } };

client.Search(request, { deadline: Date.now() + 30_000 }, (error, response) => {
  if (error) {
    console.error(error.message);
    process.exit(1);
  }
  const hits = response.objects.map((object) => object.hits.map((hit) => [hit.item_id, hit.similarity]));
  console.log(JSON.stringify(hits));
  client.close();
});
