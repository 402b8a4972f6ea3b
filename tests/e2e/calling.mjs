// Asks endpoints by every task method of the official JavaScript client.
//
// `node calling.mjs CLIENT`, with HF_TOKEN set; CLIENT is the client's own folder. Lines in and out as in calling.py; IMAGE
// and SOUND come with each line, in base64.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { InferenceClient } = await import(pathToFileURL(`${process.argv[2]}/dist/esm/index.js`));

const labels = ["cat", "dog"];
const CALLS = {
  "text-classification": { textClassification: (c) => c.textClassification({ inputs: "the soup" }) },
  "token-classification": { tokenClassification: (c) => c.tokenClassification({ inputs: "the soup in paris" }) },
  "question-answering": {
    questionAnswering: (c) => c.questionAnswering({ inputs: { question: "who won ?", context: "the team won" } }),
  },
  "zero-shot-classification": {
    zeroShotClassification: (c) =>
      c.zeroShotClassification({ inputs: "the soup", parameters: { candidate_labels: labels } }),
  },
  "fill-mask": { fillMask: (c) => c.fillMask({ inputs: "the [MASK] won" }) },
  "feature-extraction": { featureExtraction: (c) => c.featureExtraction({ inputs: "the soup" }) },
  "sentence-similarity": {
    sentenceSimilarity: (c) =>
      c.sentenceSimilarity({ inputs: { source_sentence: "the soup", sentences: ["salt", "a team"] } }),
  },
  summarization: { summarization: (c) => c.summarization({ inputs: "the soup needs salt" }) },
  translation: { translation: (c) => c.translation({ inputs: "the soup needs salt" }) },
  "table-question-answering": {
    tableQuestionAnswering: (c) =>
      c.tableQuestionAnswering({ inputs: { query: "how many", table: { cat: ["1", "2"], dog: ["3", "4"] } } }),
  },
  "image-classification": { imageClassification: (c, { image }) => c.imageClassification({ inputs: image }) },
  "zero-shot-image-classification": {
    zeroShotImageClassification: (c, { image }) =>
      c.zeroShotImageClassification({ inputs: { image }, parameters: { candidate_labels: labels } }),
  },
  "object-detection": { objectDetection: (c, { image }) => c.objectDetection({ inputs: image }) },
  "image-segmentation": { imageSegmentation: (c, { image }) => c.imageSegmentation({ inputs: image }) },
  "image-to-text": { imageToText: (c, { image }) => c.imageToText({ inputs: image }) },
  "visual-question-answering": {
    visualQuestionAnswering: (c, { image }) =>
      c.visualQuestionAnswering({ inputs: { question: "what is this ?", image } }),
  },
  "document-question-answering": {
    documentQuestionAnswering: (c, { image }) =>
      c.documentQuestionAnswering({
        inputs: { question: "what is this ?", image },
        parameters: { word_boxes: [["a", [0, 0, 9, 9]], ["cat", [9, 0, 20, 9]]] },
      }),
  },
  "automatic-speech-recognition": {
    automaticSpeechRecognition: (c, { sound }) => c.automaticSpeechRecognition({ inputs: sound }),
  },
  "audio-classification": { audioClassification: (c, { sound }) => c.audioClassification({ inputs: sound }) },
  "text-to-speech": { textToSpeech: (c) => c.textToSpeech({ inputs: "the soup" }) },
  "text-to-image": {
    textToImage: (c) =>
      c.textToImage({
        inputs: "the soup",
        parameters: { width: 24, height: 16, num_inference_steps: 2, guidance_scale: 2, negative_prompt: "salt", seed: 3 },
      }),
  },
};

function shape(value) {
  if (value instanceof Blob) return "bytes";
  if (Array.isArray(value)) return value.length ? [shape(value[0])] : [];
  if (value !== null && typeof value === "object") {
    const present = Object.entries(value).filter(([, item]) => item !== null && item !== undefined);
    return Object.fromEntries(present.map(([name, item]) => [name, shape(item)]));
  }
  return { string: "text", number: "number" }[typeof value] ?? typeof value;
}

const blob = (text, type) => new Blob([Buffer.from(text, "base64")], { type });

for await (const line of createInterface({ input: process.stdin })) {
  const wanted = JSON.parse(line);
  const media = { image: blob(wanted.image, "image/png"), sound: blob(wanted.sound, "audio/wav") };
  const client = new InferenceClient(process.env.HF_TOKEN, { endpointUrl: wanted.url, retry_on_error: false });
  const told = {};
  for (const [name, call] of Object.entries(CALLS[wanted.task] ?? {})) {
    try {
      told[name] = shape(await call(client, media));
    } catch (error) {
      told[name] = { failed: `${error.name}: ${error.message}`.slice(0, 500) };
    }
  }
  console.log(JSON.stringify(told));
}
